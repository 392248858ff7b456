"""One resource a file; wire schemas on top, no business rule."""
