"""The pipeline's networks: loaded when the model is, and afresh after memory ran out."""

from threading import Lock

from graph import load


class Graphs:
    """Runs networks by name. Safe to use from several threads."""

    def __init__(self, directory, names, threads):
        self.directory = directory
        self.names = names
        self.threads = threads
        self.lock = Lock()
        self.loaded = {}

    def load(self):
        """Load every network that is not there."""
        for name in self.names:
            self.get(name)

    def get(self, name):
        """A network, loaded if need be."""
        with self.lock:
            if name not in self.loaded:
                # The sizes of pictures differ from request to request.
                self.loaded[name] = load(self.directory, name, threads=self.threads, steady_shapes=False)
            return self.loaded[name]

    def run(self, name, feed, *, shrink=False):
        """The outputs of a network, by name. `shrink` gives back what the run took: for one that is run seldom."""
        return self.get(name).run(feed, shrink=shrink)

    def drop(self):
        """Let go of all networks, and of what failed runs of theirs still hold."""
        with self.lock:
            self.loaded = {}
