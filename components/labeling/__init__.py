"""Who ranks replies: a simulated labeler with known taste and noise, or comparisons a user brings."""
