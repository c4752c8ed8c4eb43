"""The requests and answers of the services. All modules but `base` are generated from the OpenAPI documents."""
