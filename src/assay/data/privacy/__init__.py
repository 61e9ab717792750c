"""What a table gives away by itself: copies across the split, the same people, identifiers, and people who stand out."""
