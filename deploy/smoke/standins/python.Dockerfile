# Stands in for the Python image: Debian's Python 3.11, and the authorities that this machine trusts.
FROM smoke/debian:bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/
CMD ["python3"]
