"""Where a model to start from comes from: one kind a file, which brings a folder or file of it to this machine."""
