# Stands in for the MinIO image: SeaweedFS's S3 server behind the image's command line and settings.
FROM smoke/debian:bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*
COPY weed minio mc /usr/bin/
COPY minio-entrypoint /usr/bin/docker-entrypoint.sh
VOLUME /data
ENTRYPOINT ["/usr/bin/docker-entrypoint.sh"]
CMD ["minio"]
