"""The use cases of extractions, and the queries about extractions and units."""
