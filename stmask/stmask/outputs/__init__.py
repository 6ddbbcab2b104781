"""Result files, drawings and the pages of the viewer."""
