"""A DICOMweb server (a PACS) as a source: searched with QIDO-RS, retrieved with WADO-RS."""
