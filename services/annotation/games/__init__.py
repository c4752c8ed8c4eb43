"""The games of reader studies, as pure code: the document, the draw of trials, descriptions and scores."""
