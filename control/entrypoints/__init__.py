"""Where calls come in: parse, one use case, answer."""
