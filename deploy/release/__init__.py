"""The contracts of the last release with callers and message readers. Later code is compared with them."""
