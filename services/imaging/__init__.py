"""The one definition of patch, preprocessing, architecture and checkpoint, shared by the services that compute."""
