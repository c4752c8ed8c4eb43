"""Who may call a service: tokens, TLS, and the credentials that a caller presents."""
