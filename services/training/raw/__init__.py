"""From raw mammograms to patches: reads published sets and own files, and cuts labelled patches."""
