"""Everything that runs the product: local servers, images, broker definitions."""
