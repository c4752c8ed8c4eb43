"""Small sources of raw mammograms, one writer for each layout, with every trap that the real ones have."""
