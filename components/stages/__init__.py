"""One module a stage; `python -m components.stages <stage>` is the command DVC runs."""
