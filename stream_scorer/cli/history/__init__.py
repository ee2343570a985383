"""The commands that show, build and move card histories."""
