"""What can be taken out of a layer for a context: a file here is one kind (:mod:`.contract`)."""
