"""The layout of a folder of pictures with tables that a lab has made."""
