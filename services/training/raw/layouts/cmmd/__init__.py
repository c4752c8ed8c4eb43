"""The layout of CMMD, with the outlines of TOMPEI-CMMD."""
