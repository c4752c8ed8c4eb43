"""`make smoke`: the images and docker-compose.yml on a real Docker engine, on a machine without a registry."""
