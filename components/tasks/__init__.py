"""What evaluate measures, and who judges."""
