"""The protocol of a reader study, as pure code: the document, the questions, the order of reading and the design."""
