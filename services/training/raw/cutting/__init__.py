"""From one raw mammogram to its labelled patches."""
