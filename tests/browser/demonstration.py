"""The demonstration page, as somebody sees it who uses it."""

from __future__ import annotations

import re

from playwright.sync_api import Page

from tests.support.leaks import wait_until

SEAM = re.compile(
    r'([\d.]+) s and ([\d,]+) bytes missed, sent by (another|the same) worker'
    r', nothing lost'
)


class Demonstration:
    """The page in a tab.

    Attributes:
        page: the tab.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, port: int) -> None:
        """Load it, and wait until it knows what it is in front of."""
        self.page.goto(f'http://127.0.0.1:{port}/')
        self.page.locator('#pace').wait_for(state='attached')

    def pace(self, rate: int, length: int) -> None:
        """Choose words per second, and how many."""
        self.page.click('summary')
        self.page.select_option('#rate', str(rate))
        self.page.select_option('#length', str(length))

    def press(self, phase: str) -> None:
        """Press the primary button, and wait for what it leads to."""
        self.page.click('#main')
        self.reaches(phase)

    def start(self) -> None:
        """Begin an answer that goes on for minutes, and read some of it."""
        self.pace(100, 50_000)
        self.press('streaming')
        self.reads_on()

    def cut(self) -> None:
        """Cut the wire, and wait until the server has written more."""
        self.press('cut')
        self.grows('written')

    def resume(self) -> None:
        """Resume, and wait until all that was missed is here, and more."""
        seams = len(self.seams())
        self.press('streaming')
        self.resumes(seams)

    def resumes(self, seams: int) -> None:
        """Wait until the text goes on after one seam more than these."""
        assert wait_until(lambda: len(self.seams()) > seams), self.status()
        self.reads_on()

    def stop(self) -> None:
        """Stop the answer."""
        self.page.click('#stop')
        self.reaches('cancelled')

    def reaches(self, phase: str) -> None:
        """Wait until the page is in this state."""
        self.page.locator(f'main[data-phase={phase}]').wait_for()

    def grows(self, number: str) -> None:
        """Wait until a number has grown."""
        before = self.number(number)
        assert wait_until(lambda: self.number(number) > before), self.status()

    def reads_on(self) -> None:
        """Wait until more of the answer is here, by some numbers at least."""
        least = self.number('read') + 10_000
        assert wait_until(lambda: self.number('read') > least), self.status()

    def number(self, name: str) -> int:
        """What stands at an end of the wire."""
        return int(self.page.inner_text(f'#{name}').replace(',', ''))

    def status(self) -> str:
        """The line below the wire."""
        return self.page.inner_text('#status')

    def seams(self) -> list[tuple[str, ...]]:
        """Seconds, bytes and worker of each seam behind which nothing is lost."""
        found = map(SEAM.fullmatch, self.page.locator('.seam').all_inner_texts())
        return [match.groups() for match in found if match]

    def text(self, lane: str = 'answer') -> str:
        """The text of a lane, without seams."""
        return ''.join(self.page.locator(f'#{lane} span.part').all_text_contents())

    def fact(self, name: str) -> str:
        """One of the details, which need not be unfolded."""
        found = self.page.locator(f'#facts [data-name="{name}"]').text_content()
        assert found is not None
        return found


def check_counts(text: str, least: int = 1) -> None:
    """The demo model counts: nothing may be lost, doubled or torn."""
    opening, _, counted = text.partition('restart a worker. ')
    assert opening.startswith('I am the demo model of shmstream, not a')
    numbers = counted.split()
    assert len(numbers) >= least
    assert numbers == [str(number + 1) for number in range(len(numbers))]
