"""The window of ``render_mode="human"``."""

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray


class Window:
    """Shows frames on the screen, no faster than so many a second; pygame draws it.

    Closing it by hand hides it until the next frame.

    Args:
        title: of the window.
        fps: frames per second at most; None: as they come.

    Raises:
        DependencyNotInstalled: pygame is not installed.
    """

    def __init__(self, title: str, fps: float | None) -> None:
        try:
            import pygame
        except ImportError as error:
            raise DependencyNotInstalled(
                "render_mode 'human': expected pygame to be installed; run pip install 'autotts_gym[human]'"
            ) from error
        self._pygame: Any = pygame
        self._title = title
        self._fps = fps
        self._surface: Any = None
        self._clock: Any = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame, (H, W, 3) uint8, and handle the events of the window.

        Raises:
            DependencyNotInstalled: there is no screen.
        """
        pygame = self._pygame
        height, width, _ = frame.shape
        if self._surface is None:
            try:
                pygame.display.init()
                self._surface = pygame.display.set_mode((width, height))
            except pygame.error as error:
                raise DependencyNotInstalled(f"render_mode 'human': expected a screen, got {error}") from error
            pygame.display.set_caption(self._title)
            pygame.event.clear(pygame.QUIT)  # events that an earlier window left
            self._clock = pygame.time.Clock()
        self._surface.blit(pygame.surfarray.make_surface(frame.transpose(1, 0, 2)), (0, 0))
        closed = any(event.type == pygame.QUIT for event in pygame.event.get())
        pygame.display.flip()
        if self._fps is not None:
            self._clock.tick(self._fps)
        if closed:
            self.close()

    def close(self) -> None:
        """Close the window, if it is open."""
        if self._surface is not None:
            self._surface = None
            self._pygame.display.quit()
