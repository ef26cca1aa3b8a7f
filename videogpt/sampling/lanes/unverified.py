"""Lanes that keep what they draw without checking it: fewer passes, and other codes. Each has to be asked for by name.

`next-row` draws a line of the grid in one pass, `diagonal` all places of a latent frame whose line and column add up to
one number (after Ye et al., "Fast Autoregressive Video Generation with Diagonal Decoding", 2025, arXiv 2503.14070).
Places whose codes are not drawn yet are read as the guesses of the Jacobi lane: codes of the latent frame before, or
what was last drawn there. The number of passes is fixed, whatever the clip holds; a seed means other codes than in the
exact lanes. Nothing has to be trained; a model that has seen such guesses in training
(`model.guessed_lines`) draws better.
"""

from videogpt.sampling.lanes.jacobi import JacobiLane

# B samples, M places of a pass


class NextRowLane(JacobiLane):
    """Draws a line of codes of every sample at each step."""

    name = "next-row"
    exact = False

    def _advance(self) -> None:
        line, drawn = self.task.raster.latent_width, self.drawn
        stop = min(drawn + line - drawn % line, len(self.prompt.places))
        # The line before is read again: it was read as guesses, and what is kept of it is to be that of its codes.
        drawn_BM = self._pass(max(drawn - 1 - line, 0), range(drawn, stop))
        for tokens, new in zip(self._tokens, drawn_BM, strict=True):
            tokens[drawn:] = new
        self._known = [stop] * len(self._tokens)

    def _pass(self, start: int, numbers: range) -> list[list[int]]:
        """What every sample draws for tokens side by side; those from `start` on are read, or guesses of them."""
        for tokens in self._tokens:
            self._guess_up_to(numbers.stop - 1, tokens)
        found_RMX = self._read_windows([start] * len(self._tokens), numbers.stop - 1 - start)
        places_M = [self.prompt.places[number] for number in numbers]
        return self.draw(found_RMX[:, -len(numbers) :], [places_M] * len(self._tokens)).tolist()


class DiagonalLane(NextRowLane):
    """Draws a latent frame of every sample at each step, a diagonal in each pass."""

    name = "diagonal"

    def _advance(self) -> None:
        raster, drawn = self.task.raster, self.drawn
        stop = min(drawn + raster.frame_tokens - drawn % raster.frame_tokens, len(self.prompt.places))
        numbers, diagonals = range(drawn, stop), {}
        for number in numbers:
            line, column = divmod(self.prompt.places[number] % raster.frame_tokens, raster.latent_width)
            diagonals.setdefault(line + column, set()).add(number)
        unknown, last = set(numbers), None
        for _, diagonal in sorted(diagonals.items()):
            found_BM = self._pass(drawn - 1, numbers)
            for tokens, found in zip(self._tokens, found_BM, strict=True):
                new = [found[n - drawn] if n in unknown or n >= len(tokens) else tokens[n] for n in numbers]
                tokens[drawn:] = new
            unknown -= diagonal
            if found_BM == last:
                break  # a further pass would read what this one has read
            last = found_BM
        self._known = [stop] * len(self._tokens)
