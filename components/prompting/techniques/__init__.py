"""One way to ask a module: `kind` in `prompting.techniques` names it."""
