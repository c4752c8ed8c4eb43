"""Mammograms as DICOM: what a header says, and the pixels as they are shown."""
