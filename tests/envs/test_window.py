"""Episodes in a window and in a video."""

import gc
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

import autotts_gym  # noqa: F401

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")


@pytest.fixture
def pygame(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.filters", [])  # pygame's own imports warn
        return pytest.importorskip("pygame")


@pytest.mark.parametrize("name", IDS)
def test_the_window_shows_the_frame_after_reset_and_step(pygame, name):
    shown = gym.make(name, max_branches=8, render_mode="human")
    drawn = gym.make(name, max_branches=8, render_mode="rgb_array")
    shown.unwrapped._window._fps = None  # as fast as it can
    for env in (shown, drawn):
        env.reset(seed=0)
    for action in (None, 1, 1, 0):
        if action is not None:
            for env in (shown, drawn):
                env.step(action)
        frame = pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)
        np.testing.assert_array_equal(frame, drawn.render())
        assert shown.render() is None
    shown.close()
    shown.close()
    assert not pygame.display.get_init()


def test_a_window_that_was_closed_by_hand_does_no_harm_and_comes_back(pygame):
    env = gym.make(IDS[0], max_branches=8, render_mode="human")
    env.unwrapped._window._fps = None
    env.reset(seed=0)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    env.step(1)
    assert not pygame.display.get_init()
    env.step(1)
    assert pygame.display.get_surface() is not None
    env.close()


@pytest.mark.parametrize("name", IDS)
def test_without_pygame_the_error_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(DependencyNotInstalled, match=r"pip install 'autotts_gym\[human\]'"):
        gym.make(name, render_mode="human").reset()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", IDS)
def test_a_video_of_an_episode_can_be_read_back(name, tmp_path):
    pytest.importorskip("moviepy")
    import imageio_ffmpeg

    env = gym.make(name, max_branches=8, render_mode="rgb_array")
    env = gym.wrappers.RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda k: True, disable_logger=True)
    env.reset(seed=0)
    env.step(1)
    for action in (1, 1, 0):
        env.step(action)
    last = env.unwrapped.render()
    env.close()
    gc.collect()  # MoviePy leaves pipes open, which would be held against a later test
    (video,) = tmp_path.rglob("*.mp4")
    reader = imageio_ffmpeg.read_frames(str(video))
    about = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(*last.shape) for frame in reader]
    assert about["size"] == (last.shape[1], last.shape[0])
    assert about["fps"] == env.metadata["render_fps"]
    assert len(frames) == 5
    assert np.abs(frames[-1].astype(int) - last).mean() < 3  # but for the loss of compression


def test_neither_is_loaded_until_it_is_needed():
    code = "import sys, gymnasium, autotts_gym; gymnasium.make('AutoTTS-Replay-v0').reset(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pygame", "moviepy", "imageio_ffmpeg"} & set(loaded)
