"""The single definition of patch, preprocessing, architecture and checkpoint, for all services that compute."""
