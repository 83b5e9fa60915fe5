'use strict';
// Sorts and filters the tables that ask for it; without scripts they are as complete.
for (const table of document.querySelectorAll('table.interactive')) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const names = heads.map(head => head.textContent.trim());
  const numberIn = text => {
    const match = /^[-+]?[\d.,]+(e[-+]?\d+)?/i.exec(text);
    return match ? Number(match[0].replaceAll(',', '')) : NaN;
  };
  const texts = new Map(rows.map(row => [row, [...row.cells].map(cell => cell.textContent.trim())]));

  const compare = (first, second, at) => {
    const [a, b] = [texts.get(first)[at], texts.get(second)[at]];
    const [x, y] = [numberIn(a), numberIn(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  heads.forEach((head, at) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute('aria-sort', 'none');
    button.addEventListener('click', () => {
      const descending = head.getAttribute('aria-sort') === 'ascending';
      heads.forEach(other => other.setAttribute('aria-sort', 'none'));
      head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      const known = rows.filter(row => texts.get(row)[at] !== '-');
      const missing = rows.filter(row => texts.get(row)[at] === '-');
      known.sort((first, second) => (descending ? -1 : 1) * compare(first, second, at));
      body.append(...known, ...missing);
    });
  });

  const holds = (row, word) => {
    const cells = texts.get(row), match = /^(.+?)(<=|>=|=|<|>)(.+)$/.exec(word);
    const at = match ? names.indexOf(match[1]) : -1;
    if (at < 0) return cells.some(cell => cell.toLowerCase().includes(word.toLowerCase()));
    const [left, right] = [numberIn(cells[at]), Number(match[3])];
    if (match[2] === '=') return cells[at].toLowerCase() === match[3].toLowerCase() || left === right;
    return { '<': left < right, '>': left > right, '<=': left <= right, '>=': left >= right }[match[2]];
  };
  const box = document.createElement('div'), label = document.createElement('label');
  const input = document.createElement('input'), count = document.createElement('span');
  box.className = 'filter';
  label.textContent = 'Filter, such as adam or ' + (names.at(-2) || 'rank') + '>=1 ';
  input.type = 'search';
  count.setAttribute('role', 'status');
  label.append(input);
  box.append(label, count);
  table.parentElement.before(box);
  input.addEventListener('input', () => {
    const words = input.value.split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every(word => holds(row, word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? shown + ' of ' + rows.length + ' rows' : '';
  });
}
