"""One module per schema revision; a revision that has shipped is never edited."""
