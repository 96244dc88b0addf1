"""Nothing lost, nothing doubled, every mistake undoable: unit of work, history, undo, and delivery to subscribers."""
