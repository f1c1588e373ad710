/** Break paragraphs into lines of at most `width` characters, and lines into pages of at most `depth` lines. */

export interface Page {
  number: number;
  lines: string[];
}

export function fill(paragraph: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of paragraph.split(/\s+/).filter(Boolean)) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line ? `${line} ${word}` : word;
    }
  }
  return line ? [...lines, line] : lines;
}

/** No page begins with the last line of a paragraph (a widow) if it can be helped. */
export function paginate(paragraphs: string[], width: number, depth: number): Page[] {
  const pages: Page[] = [];
  let page: string[] = [];
  const turn = (): void => {
    pages.push({ number: pages.length + 1, lines: page });
    page = [];
  };
  for (const paragraph of paragraphs) {
    const lines = fill(paragraph, width);
    while (lines.length > 0) {
      const room = depth - page.length;
      const leavesWidow = lines.length === room + 1 && room > 2;
      page.push(...lines.splice(0, leavesWidow ? room - 1 : room));
      if (page.length >= depth || leavesWidow) turn();
    }
  }
  if (page.length > 0) turn();
  return pages;
}
