"""From executed notebooks to checked HTML. Nothing below this package knows that a page exists."""
