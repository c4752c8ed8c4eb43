"""The HTTP side of every service: the application, its middleware, and the routes that services share."""
