"""A service as a running process: its ports opened, its servers and consumers started and stopped."""
