"""The pictures of a world and the truth about their pixels: lenses, columns, paint, sensors."""
