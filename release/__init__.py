"""Making the files that are handed out."""
