"""Models as other programs store them: files in, our transformer out, and back."""
