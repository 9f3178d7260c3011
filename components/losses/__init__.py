"""Pure tensor functions, each cited to the equation it implements. No state, no logging."""
