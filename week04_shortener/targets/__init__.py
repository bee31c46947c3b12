"""Where a link may lead."""
