"""RabbitMQ, an S3 server and PostgreSQL on this machine, for `make up` and for tests."""
