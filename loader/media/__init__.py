"""Where the discs of a media set are: folders, ISO images, devices."""
