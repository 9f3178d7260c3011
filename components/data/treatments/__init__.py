"""What is done to documents before they are pretrained on: one kind of step a file, with its parameters and `apply`."""
