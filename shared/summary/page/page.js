// The page of the summary. It asks the API for what it shows, again and again,
// since a function cannot push; sums come from the server, lists page by page. It shows
// what the login may see; the server decides that.
'use strict';
(() => {
  const ROWS = 20; // of a page of a list
  const MOST_CARDS = 24; // of sites; the selector has all
  const LATENCY_WINDOW = 60_000; // ms over which the latency now is taken
  const LONGEST_PAUSE = 30_000; // ms between two tries

  const $ = (id) => document.getElementById(id);
  const root = new URL('.', location.href);

  // ---- What is looked at. It is in the address and can be shared. A plate is read from
  // the address and removed: addresses are kept and logged.

  const asked = new URLSearchParams(location.search);
  const view = {
    site: asked.get('site') ?? '', plate: asked.get('plate') ?? '', status: asked.get('status') ?? '',
    match: asked.get('method') ?? (asked.get('disputed') === 'true' ? 'disputed' : ''), // a method or disputed
    span: 'hour', days: '1',
    cursors: [''], // of the pages of stays up to the one shown
    offset: 0, // of the vehicles inside
  };

  const filter = () => {
    const f = new URLSearchParams();
    for (const name of ['site', 'status']) if (view[name]) f.set(name, view[name]);
    if (view.match === 'disputed') f.set('disputed', 'true');
    else if (view.match) f.set('method', view.match);
    return f;
  };

  const remember = () => {
    const f = filter().toString();
    history.replaceState(null, '', location.pathname + (f ? '?' + f : ''));
    const csv = filter();
    csv.set('format', 'csv');
    $('csv').href = '?' + csv;
  };

  // ---- Words and numbers.

  const count = new Intl.NumberFormat('en');
  const show = (n) => (n === null || n === undefined ? '–' : count.format(Math.round(n)));
  const plural = (n, one, many = one + 's') => `${show(n)} ${Math.round(n) === 1 ? one : many}`;
  const percent = (x) => (x === null || x === undefined ? '–' : (100 * x).toFixed(x > 0.9995 || x === 0 ? 0 : 1) + ' %');
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
  const second = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const dayAndTime = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

  const moment = (date) => {
    const today = new Date().toDateString() === date.toDateString();
    return (today ? second : dayAndTime).format(date).replace(',', '');
  };

  // span writes seconds in at most two units.
  const span = (seconds) => {
    if (seconds === null || seconds === undefined) return '–';
    const s = Math.floor(seconds);
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  };

  // brief writes a bound, such as of a bucket.
  const brief = (seconds) => {
    if (seconds < 1) return `${+(1000 * seconds).toPrecision(3)} ms`;
    if (seconds < 60) return `${+seconds.toPrecision(3)} s`;
    if (seconds < 3600) return `${seconds / 60} min`;
    if (seconds < 86400) return `${seconds / 3600} h`;
    return `${seconds / 86400} d`;
  };

  const element = (tag, props = {}, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };

  const put = (id, text) => {
    const e = $(id);
    if (e.textContent !== text) e.textContent = text;
  };

  const putFigure = (id, text, unit) => {
    if ($(id).dataset.shown === text + unit) return;
    $(id).dataset.shown = text + unit;
    $(id).replaceChildren(text, ...(unit ? [element('span', { className: 'unit' }, ' ' + unit)] : []));
  };

  // putRows replaces rows only where they changed: what is being read or marked
  // stays as it is.
  const putRows = (id, key, rows) => {
    const e = $(id);
    if (e.dataset.shown === key) return;
    e.dataset.shown = key;
    e.replaceChildren(...rows());
  };

  const cell = (className, ...children) => element('td', { className }, ...children);
  // zones are the time zones of sites that are not in UTC, as the browser writes times in
  // them, with the offset.
  const zones = new Map();
  const putZone = ({ site, zone }) => {
    if (!zone || zone === 'UTC') return zones.delete(site);
    if (zones.get(site)?.zone === zone) return true;
    try {
      return zones.set(site, { zone, format: new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', timeZone: zone, timeZoneName: 'shortOffset' }) });
    } catch { // a browser of older zones
      return zones.delete(site);
    }
  };
  // dateOf returns the date of a time in a zone, of UTC if there is none.
  const dateOf = (iso, zone) => {
    try {
      return new Intl.DateTimeFormat('sv-SE', { timeZone: zone || 'UTC' }).format(new Date(iso));
    } catch {
      return iso.slice(0, 10);
    }
  };
  const zoneOf = (site) => zones.get(site)?.zone ?? '';

  const at = (iso, site) => {
    const date = new Date(iso);
    return element('time', { dateTime: iso, title: iso }, zones.get(site)?.format.format(date) ?? moment(date));
  };

  const table = (id, heads, rows) => {
    // A closed table costs nothing; opening it draws it.
    if (!$(id).closest('details').open) return;
    putRows(id, JSON.stringify(rows), () => [element('table', {}, element('caption', { className: 'hidden' }, $(id).ariaLabel),
      element('thead', {}, element('tr', {}, ...heads.map((h, i) => element('th', { scope: 'col', className: i ? 'number' : '' }, h)))),
      element('tbody', {}, ...rows.map((r) => element('tr', {}, ...r.map((c, i) => cell(i ? 'number' : '', String(c)))))))]);
  };

  // ---- Asking.

  // Failure tells apart who is to blame: the way to the server, the store behind
  // it, or what was asked for.
  class Failure extends Error {
    constructor(kind, message) {
      super(message);
      this.kind = kind;
    }
  }

  const send = async (path, options, signal) => {
    const patience = AbortSignal.timeout(8000);
    try {
      return await fetch(new URL(path, root), { ...options, signal: signal ? AbortSignal.any([signal, patience]) : patience });
    } catch (e) {
      throw new Failure(e.name === 'TimeoutError' ? 'summary' : 'connection', e.message);
    }
  };

  const post = (path, value, signal) => send(path, {
    method: 'POST', headers: { Accept: 'application/json', 'Content-Type': 'application/json' }, body: JSON.stringify(value),
  }, signal);

  const get = async (path, params, signal) => read(await send(path + (String(params) ? '?' + params : ''), { headers: { Accept: 'application/json' } }, signal));

  // read returns the body of a response, or throws what went wrong.
  const read = async (answer) => {
    let body;
    try {
      body = await answer.json();
    } catch (e) {
      throw new Failure(answer.ok ? 'connection' : 'summary', `status ${answer.status}`);
    }
    if (answer.ok) return body;
    // An error of the gateway's own has this header.
    if (answer.headers.has('X-OpenFaaS-Internal')) throw new Failure('summary', body.error ?? `status ${answer.status}`);
    const failure = new Failure(KINDS[answer.status] ?? 'summary', body.error ?? `status ${answer.status}`);
    Object.assign(failure, { body, status: answer.status, wait: answer.headers.get('Retry-After') });
    throw failure;
  };
  const KINDS = { 400: 'asked', 401: 'login', 403: 'login', 404: 'asked', 429: 'busy', 503: 'store' };

  // once keeps a form from being sent again before its answer is there.
  const once = (form, what) => form.addEventListener('submit', async (e) => {
    e.preventDefault();
    if (form.ariaBusy === 'true') return;
    form.ariaBusy = 'true';
    try {
      await what();
    } finally {
      form.ariaBusy = 'false';
    }
  });

  // notice shows what went wrong with something that was asked for, until it is closed.
  const notice = (text) => {
    $('notice').hidden = !text;
    put('notice-text', text);
  };
  $('notice-close').addEventListener('click', () => notice(''));

  const pollers = [];

  // Poller keeps one part of the page up to date. It pauses while the page is hidden,
  // and backs off while its requests fail.
  class Poller {
    constructor(every, load, draw) {
      Object.assign(this, { every, load, draw, failures: 0, failure: null, succeeded: 0, due: 0 });
      pollers.push(this);
    }

    refresh() {
      this.stop();
      if (this.allowed()) this.run();
    }

    stop() {
      clearTimeout(this.timer);
      this.pending?.abort();
    }

    // allowed reports whether the login may ask for it.
    allowed() {
      return this === who || Boolean(login) && (this.may?.() ?? true);
    }

    async run() {
      const pending = (this.pending = new AbortController());
      try {
        const data = await this.load(pending.signal);
        if (pending.signal.aborted) return; // something else is asked for meanwhile
        this.data = data;
        const mended = this.failures > 0;
        [this.failures, this.failure, this.succeeded] = [0, null, Date.now()];
        this.draw(data);
        if (mended) retryFailed();
      } catch (e) {
        if (pending.signal.aborted) return;
        if (!(e instanceof Failure)) throw e;
        this.failure = e;
        this.failures++;
        if (e.kind === 'login') who.refresh(); // it may have ended, or may do less than before
        if (e.kind === 'asked' || e.kind === 'login') this.refused?.(e.message);
      }
      const pause = Math.min(this.every() * 2 ** this.failures, Math.max(LONGEST_PAUSE, this.every()));
      const wait = pause * (0.9 + 0.2 * Math.random());
      this.due = Date.now() + wait;
      clearTimeout(this.timer);
      if (!document.hidden && wait < Infinity) this.timer = setTimeout(() => this.run(), wait);
      drawState();
    }
  }

  const retryFailed = () => pollers.forEach((p) => p.failures && p.refresh());
  // What is asked for once only is there already.
  const refreshAll = () => pollers.forEach((p) => (p.failures || p.every() < Infinity) && p.refresh());

  // ---- Who is logged in.

  let login = null; // as GET /me has it; null: the figures are not shown
  const may = (right) => Boolean(login?.rights.includes(right));
  const ofAllSites = () => Boolean(login) && login.sites === null;
  const isOpen = (me) => me.role === 'open'; // no one is logged in, and everyone may read

  const who = new Poller(() => 10_000, async (signal) => {
    try {
      return await get('me', '', signal);
    } catch (e) {
      if (e.kind === 'login' && e.body?.login) return e.body; // how one can log in
      throw e;
    }
  }, (me) => {
    const identity = (l) => JSON.stringify([l.name, l.role, l.sites, l.rights]);
    if (login && (!me.rights || identity(me) !== identity(login))) {
      leave();
      return;
    }
    if (!me.rights) {
      offer(me);
      return;
    }
    const entered = !login;
    login = me;
    drawLogin();
    if (entered) pollers.forEach((p) => p !== who && p.refresh());
  });

  // leave removes all that a login has shown: nothing of it stays in the page, and
  // another login begins with nothing.
  const leave = () => {
    pollers.forEach((p) => p.stop());
    login = null;
    $('figures').replaceChildren();
    $('account').remove();
    location.reload();
  };

  // offer shows the ways to log in.
  const offer = ({ login: ways, unavailable = {} }) => {
    const opened = $('login').hidden;
    const byPassword = ways.includes('password');
    $('login').hidden = false;
    $('login-form').hidden = !byPassword;
    $('login-oidc').hidden = !ways.includes('oidc');
    const without = Object.values(unavailable)[0] ?? (ways.length ? '' : 'There is no way to log in: no user has a password, or the secret session-key is missing.');
    if (opened || without !== offer.without) put('login-text', without);
    offer.without = without;
    if (opened && byPassword) $('login-name').focus();
  };

  const drawLogin = () => {
    if (!isOpen(login)) $('login').hidden = true;
    for (const id of ['skip', 'site-field', 'live', 'figures', 'end']) $(id).hidden = false;
    $('account').hidden = isOpen(login) && !login.login.length;
    put('who', isOpen(login) ? 'Not logged in' : `${login.name}, ${login.role}`);
    $('log-in').hidden = !isOpen(login);
    $('log-out').hidden = isOpen(login);
    $('plate-field').hidden = !may('read_plates');
    if (!may('read_plates')) view.plate = $('plate').value = '';
    if (login.sites && !login.sites.includes(view.site)) {
      view.site = login.sites.length === 1 ? login.sites[0] : '';
      remember();
    }
    for (const id of ['health', 'latency-panel', 'system-link']) $(id).hidden = !ofAllSites();
    for (const id of ['k-latency', 'k-dead']) $(id).closest('.kpi').hidden = !ofAllSites();
    $('audit').hidden = !may('administer');
    put('sites-note', 'occupancy now, entries and exits today' + (may('correct') ? '; choose one to correct it' : ''));
    drawCorrection();
  };

  $('log-in').addEventListener('click', () => {
    if ($('login').hidden) offer(login);
    else $('login').hidden = true;
  });

  once($('login-form'), async () => {
    put('login-text', 'Checking');
    try {
      const answer = await post('login', { name: $('login-name').value, password: $('login-password').value });
      if (!answer.ok) await read(answer);
      await get('me', '');
      leave(); // and begin with the rights of the login
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      put('login-text', refusal(failure));
      $('login-password').select();
    }
  });

  // refusal tells why a login was refused.
  const refusal = ({ kind, status, body, wait, message }) => {
    if (kind === 'connection') return 'The server cannot be reached. Try again.';
    if (kind === 'summary') return 'The server does not answer. Try again.';
    if (body.login) return 'The browser has not kept the cookie of the login. Allow cookies for this page.';
    if (status === 401) return 'The name or the password is wrong.';
    return sentence(message) + (wait ? ` Try again in ${span(Number(wait))}.` : '');
  };

  const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (text.endsWith('.') ? '' : '.');

  $('log-out').addEventListener('click', async () => {
    try {
      const answer = await post('logout', {});
      if (!answer.ok) await read(answer);
      view.site = view.status = ''; // the next login may be another's
      remember();
      leave();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      notice('You are still logged in: the logout did not reach the server, or could not be stored. Try again.');
    }
  });

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) pollers.forEach((p) => clearTimeout(p.timer));
    else refreshAll();
  });
  window.addEventListener('online', refreshAll);
  $('retry').addEventListener('click', refreshAll);

  // drawState shows the state of the figures: live, old or unavailable.
  const drawState = () => {
    const storeAway = !system.failure && system.data && redisAway(system.data);
    const asking = pollers.filter((p) => p.allowed());
    const broken = asking.map((p) => p.failure).filter((f) => f && f.kind !== 'asked' && f.kind !== 'login');
    const lost = storeAway ? new Failure('store') : broken.find((f) => f.kind === 'connection') ?? broken.find((f) => f.kind === 'summary') ?? broken[0];
    const latest = login && Math.max(...asking.map((p) => p.succeeded));
    const waiting = asking.some((p) => !p.succeeded && !p.failure);
    $('figures').setAttribute('aria-busy', String(waiting));
    $('figures').classList.toggle('stale', Boolean(lost));
    $('live').dataset.state = lost ? 'lost' : waiting ? 'loading' : 'live';
    put('live-text', lost ? 'Not live' : waiting ? 'Loading' : 'Live');
    $('banner').hidden = !lost;
    if (!lost) return;
    const what = {
      connection: 'The connection to the server is lost.', summary: 'The summary function does not answer.',
      busy: 'The server takes no more requests of this login for now.',
    }[lost.kind] ?? (login ? 'The store of stays (Redis) cannot be reached.' : sentence(lost.message));
    const since = latest ? ` Figures are of ${second.format(latest)}.` : '';
    put('banner-text', `${what}${since} Trying again by itself.`);
  };

  // ---- Plots.

  const probe = element('i', { hidden: true });
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const faded = (rgb, alpha) => rgb.replace(/^rgb\(([^)]+)\)$/, `rgba($1, ${alpha})`);

  // tip shows what is under the pointer.
  const tip = (words) => {
    const box = element('div', { className: 'tip', hidden: true });
    return {
      hooks: {
        init: (u) => u.over.append(box),
        setCursor: (u) => {
          const i = u.cursor.idx;
          const text = i === null || i === undefined || u.cursor.left < 0 ? '' : words(u, i);
          box.hidden = !text;
          if (!text) return;
          box.textContent = text;
          const left = u.cursor.left > u.over.clientWidth / 2;
          box.style.left = left ? 'auto' : `${u.cursor.left + 14}px`;
          box.style.right = left ? `${u.over.clientWidth - u.cursor.left + 14}px` : 'auto';
          box.style.top = '6px';
        },
      },
    };
  };

  // Plot is one uPlot. Other colours or kinds of data replace it; other data only
  // update it.
  class Plot {
    constructor(id, options) {
      Object.assign(this, { place: $(id), options });
      Plot.all.push(this);
      new ResizeObserver(() => this.fit()).observe(this.place);
    }

    size() {
      return { width: this.place.clientWidth, height: this.place.clientHeight };
    }

    fit() {
      const { width, height } = this.size();
      if (this.plot && width && (this.plot.width !== width || this.plot.height !== height)) this.plot.setSize({ width, height });
    }

    draw(data, none) {
      this.data = data;
      this.place.classList.toggle('none', Boolean(none));
      this.place.dataset.none = none ?? '';
      if (this.plot) {
        this.plot.setData(data);
        return;
      }
      this.plot = new uPlot({ ...this.size(), ...this.options() }, data, this.place);
    }

    renew() {
      if (!this.plot) return;
      this.plot.destroy();
      this.plot = null;
      this.draw(this.data, this.place.dataset.none || undefined);
    }
  }
  Plot.all = [];

  const axes = (x, y) => {
    const look = { stroke: colour('muted'), font: '12px Inter, system-ui, sans-serif', grid: { stroke: colour('soft'), width: 1 }, ticks: { show: false } };
    return [
      { ...look, grid: { show: false }, gap: 6, size: 28, ...x },
      { ...look, gap: 6, size: (_, values) => 14 + 7 * Math.max(2, ...(values ?? []).map((v) => v.length)), space: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8], values: (_, vs) => vs.map(tick), ...y },
    ];
  };
  const tick = (n) => (n >= 1e6 ? `${n / 1e6} M` : n >= 1e4 ? `${n / 1e3} k` : count.format(n));
  const upTo = (_, __, max) => [0, Math.max(4, max * 1.08)];

  const flowPlot = new Plot('flow', () => {
    const line = (label, name) => ({ label, stroke: colour(name), fill: faded(colour(name), 0.1), width: 1.75, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) });
    return {
      legend: { show: false }, cursor: { y: false, points: { show: false } }, padding: [8, 20, 0, 0],
      scales: { y: { range: upTo } },
      axes: axes({ values: (_, vs) => vs.map((v) => clock.format(v * 1000)), space: 64 }, {}),
      series: [{}, line('Entries', 'entry'), line('Exits', 'exit')],
      plugins: [tip((u, i) => `${clock.format(u.data[0][i] * 1000)}\n${show(u.data[1][i])} entries\n${show(u.data[2][i])} exits`)],
    };
  });

  // A histogram has its bars side by side: with several series each has its own
  // places on the x axis, and nothing at those of others.
  const histogram = (id, series, labels, unit) => new Plot(id, () => ({
    legend: { show: false }, cursor: { y: false, x: false, points: { show: false } }, padding: [8, 8, 0, 0],
    scales: { x: { time: false, range: () => [-0.6, Math.max(1, labels().length) - 0.4] }, y: { range: upTo } },
    axes: axes({
      splits: (u) => {
        const every = Math.max(1, Math.ceil((labels().length * 58) / Math.max(1, u.width - 60)));
        return labels().map((_, i) => i).filter((i) => i % every === 0);
      },
      values: (_, vs) => vs.map((i) => labels()[i] ?? ''),
    }, {}),
    series: [{}, ...series.map(([label, name]) => ({
      label, stroke: colour(name), fill: faded(colour(name), 0.8), width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [series.length > 1 ? 0.92 : 0.72, 64], radius: 0.12 }),
    }))],
    plugins: [tip((u, i) => {
      const x = Math.round(u.data[0][i]);
      const near = (s) => u.data[s].find((v, j) => v !== null && Math.round(u.data[0][j]) === x);
      return [labels()[x], ...series.map(([label], s) => `${show(near(s + 1) ?? 0)} ${unit(label)}`)].join('\n');
    })],
  }));

  // ---- Now: occupancy and sites.

  const sum = (sites, what) => sites.reduce((n, s) => n + what(s), 0);

  // places tells of the places of a site and of vehicles that are overdue, if configured.
  const places = (s) => (s.capacity ? `, ${show(s.free)} of ${show(s.capacity)} free` : '') + (s.overdue ? `, ${show(s.overdue)} overdue` : '');

  // doubt tells why the occupancy of a site may be wrong.
  const doubt = (s) => (s.occupancy_doubtful ? `, may be wrong: ${s.silent_cameras.join(', ')} silent` : '');
  const occupancyOf = (sites) => (sites.some((s) => s.occupancy === null) ? null : sum(sites, (s) => s.occupancy));

  const overview = new Poller(() => 2000, (signal) => get('overview', '', signal), ({ sites }) => {
    const shown = view.site ? sites.filter((s) => s.site === view.site) : sites;
    sites.forEach(putZone);
    putFigure('k-occupancy', show(occupancyOf(shown)), '');
    const doubted = sites.filter((s) => s.occupancy_doubtful).length;
    put('n-occupancy', view.site ? view.site + shown.map((s) => places(s) + doubt(s)).join('') : plural(sites.length, 'site') + (doubted ? `, of ${show(doubted)} it may be wrong` : ''));
    putFigure('k-entries', show(sum(shown, (s) => s.entries_today)), '');
    putFigure('k-exits', show(sum(shown, (s) => s.exits_today)), '');
    drawSelector(sites);
    drawCards(sites);
    drawInside();
  });

  const drawSelector = (sites) => {
    const names = sites.map((s) => s.site).sort();
    if (view.site && !names.includes(view.site)) names.push(view.site);
    putRows('site', names.join('\n'), () => [element('option', { value: '' }, ofAllSites() ? 'All sites' : 'Your sites'), ...names.map((n) => element('option', { value: n }, n))]);
    $('site').value = view.site;
  };

  const drawCards = (sites) => {
    const cards = sites.toSorted((a, b) => b.occupancy - a.occupancy).slice(0, MOST_CARDS).toSorted((a, b) => a.site.localeCompare(b.site));
    $('sites-more').hidden = sites.length <= MOST_CARDS;
    put('sites-more', `The ${MOST_CARDS} fullest of ${sites.length} sites; choose any above.`);
    // Cards stay the same elements, so that the one in focus keeps it.
    putRows('sites', cards.map((s) => s.site).join('\n'), () => (cards.length ? cards.map((s) => {
      const card = element('button', { type: 'button' }, element('span', { className: 'name', title: s.site }, s.site), element('span', { className: 'hidden' }),
        element('span', { className: 'count', ariaHidden: 'true' }), element('span', { className: 'note', ariaHidden: 'true' }));
      card.dataset.site = s.site;
      card.addEventListener('click', () => choose(view.site === s.site ? '' : s.site));
      return element('li', {}, card);
    }) : [element('li', { className: 'note' }, 'No events yet. A site appears with its first event.')]));
    for (const s of cards) {
      const card = $('sites').querySelector(`[data-site="${CSS.escape(s.site)}"]`);
      card.setAttribute('aria-pressed', String(view.site === s.site));
      const texts = [`: occupancy ${show(s.occupancy)}, ${show(s.entries_today)} entries and ${show(s.exits_today)} exits today${places(s)}${doubt(s)}`,
        show(s.occupancy), `+${show(s.entries_today)} −${show(s.exits_today)}${places(s)}${doubt(s)}`];
      card.querySelectorAll('.hidden, .count, .note').forEach((e, i) => {
        if (e.textContent !== texts[i]) e.textContent = texts[i];
      });
    }
  };

  // ---- Entries and exits by minute.

  const flow = new Poller(() => (view.span === 'hour' ? 2000 : 10_000), (signal) => {
    const day = view.span === 'day';
    const q = new URLSearchParams({ from: new Date(Date.now() - (day ? 86_400_000 : 3_600_000)).toISOString().replace(/\.\d+/, ''), step: day ? '10' : '1' });
    if (view.site) q.set('site', view.site);
    return get('minutes', q, signal);
  }, ({ minutes, step_seconds: step }) => {
    const entries = sum(minutes, (m) => m.entries), exits = sum(minutes, (m) => m.exits);
    flowPlot.draw([minutes.map((m) => Date.parse(m.start) / 1000), minutes.map((m) => m.entries), minutes.map((m) => m.exits)],
      entries + exits ? undefined : 'No events in this time');
    const busiest = minutes.reduce((a, b) => (b.entries + b.exits > a.entries + a.exits ? b : a), minutes[0]);
    const steps = step === 60 ? 'minute' : `${step / 60} minutes`;
    put('flow-text', `By ${steps}: ${plural(entries, 'entry', 'entries')} and ${plural(exits, 'exit')} in the last ${view.span}` +
      (entries + exits ? `, most at ${clock.format(Date.parse(busiest.start))}. The last ${steps} still count.` : '.').replace('minute still count', 'minute still counts'));
    table('flow-table', ['From', 'Entries', 'Exits'], minutes.toReversed().map((m) => [clock.format(Date.parse(m.start)), show(m.entries), show(m.exits)]));
    const full = view.span === 'hour' ? minutes.slice(-6, -1) : [];
    put('n-entries', full.length ? `${show(sum(full, (m) => m.entries) / full.length)} a minute, last 5` : '\u00a0');
    put('n-exits', full.length ? `${show(sum(full, (m) => m.exits) / full.length)} a minute, last 5` : '\u00a0');
  });

  // ---- Durations and match rate.

  let durationLabels = [];
  const durationsPlot = histogram('durations', [['stays', 'entry']], () => durationLabels, () => 'stays');

  const stats = new Poller(() => (view.days === 'all' ? 15_000 : 4000), (signal) => {
    const q = new URLSearchParams();
    // Of very many sites the endpoint sums up fewer days, and tells which.
    if (view.days !== 'all') q.set('from', new Date(Date.now() - (Number(view.days) - 1) * 86_400_000).toISOString().replace(/\.\d+/, ''));
    if (view.site) q.set('site', view.site);
    return get('stats', q, signal);
  }, (s) => {
    const days = view.days === 'all' ? `since ${dateOf(s.from, s.zone)}` : $('days').selectedOptions[0].textContent.toLowerCase();
    putFigure('k-match', ...(s.match_rate === null ? ['–', ''] : percent(s.match_rate).split(' ')));
    const near = s.completed - s.methods.exact - s.methods.corrected;
    put('n-match', [plural(s.completed, 'stay'), near && `${show(near)} by similar plates`, s.disputed && `${show(s.disputed)} disputed`, days].filter(Boolean).join(', '));
    $('n-match').title = $('n-match').textContent; // it may be cut off
    putFigure('k-unmatched', show(s.unmatched_exits), '');
    put('n-unmatched', `no entry, ${days}` + (s.repeated_exits ? `; ${plural(s.repeated_exits, 'repeat')}` : ''));
    let from = 0;
    durationLabels = s.durations.map((d) => (d.up_to_seconds === null ? `> ${brief(from)}` : `≤ ${brief((from = d.up_to_seconds))}`));
    durationsPlot.draw([s.durations.map((_, i) => i), s.durations.map((d) => d.stays)], s.completed ? undefined : 'No completed stays yet');
    put('durations-text', s.completed
      ? `${plural(s.completed, 'completed stay')}: half were shorter than ${span(s.p50_duration_seconds)}, 95 % than ${span(s.p95_duration_seconds)}; average ${span(s.average_duration_seconds)}.`
      : `No completed stays (${days}).`);
    table('durations-table', ['Duration', 'Stays'], s.durations.map((d, i) => [durationLabels[i], show(d.stays)]));
  });

  // ---- Latency, dead letters, health.

  let latencyLabels = [];
  const latencyPlot = histogram('latency', [['Entries', 'entry'], ['Exits', 'exit']], () => latencyLabels, (label) => label.toLowerCase());
  const looks = []; // at the system, of the last minute, oldest first

  // between returns the counts by bucket that a histogram has gained since an earlier
  // one; all its counts if the process has restarted.
  const between = (now, before) => {
    const fresh = !before || before.count > now.count || before.buckets.length !== now.buckets.length;
    let last = 0;
    return now.buckets.map((b, i) => {
      const total = b.count - (fresh ? 0 : before.buckets[i].count);
      const own = total - last;
      last = total;
      return { up_to_seconds: b.up_to_seconds, count: own };
    });
  };

  // quantile interpolates within a bucket, as Prometheus does.
  const quantile = (buckets, q) => {
    const total = buckets.reduce((n, b) => n + b.count, 0);
    if (!total) return null;
    let rank = q * total, from = 0;
    for (const b of buckets) {
      if (b.count && rank <= b.count) return b.up_to_seconds === null ? from : from + (b.up_to_seconds - from) * (rank / b.count);
      rank -= b.count;
      from = b.up_to_seconds ?? from;
    }
    return from;
  };

  const added = (a, b) => (a.length === b.length ? a.map((x, i) => ({ ...x, count: x.count + b[i].count })) : a.length ? a : b);
  const ofType = (look, type) => look?.latency.find((l) => l.event_type === type);
  const TYPES = ['entry', 'exit'];

  const drawLatency = (now) => {
    looks.push(now);
    while (looks.length > 2 && Date.parse(now.at) - Date.parse(looks[0].at) > LATENCY_WINDOW) looks.shift();
    const present = now.latency.map((l) => l.event_type);
    let recent = present.map((t) => between(ofType(now, t), ofType(looks[0], t))).reduce(added, []);
    const idle = looks.length < 2 || !recent.some((b) => b.count);
    if (idle) recent = now.latency.map((l) => between(l)).reduce(added, []);
    const [p50, p99] = [quantile(recent, 0.5), quantile(recent, 0.99)];
    putFigure('k-latency', ...(p50 === null ? ['–', ''] : [String(+(1000 * p50).toPrecision(2)), 'ms']));
    put('n-latency', p99 === null ? 'no events yet' : `p99 ${brief(+p99.toPrecision(2))}, ${idle ? 'since start' : 'last minute'}`);

    const all = TYPES.map((t) => (ofType(now, t) ? between(ofType(now, t)) : []));
    const longest = all[0].length >= all[1].length ? all[0] : all[1];
    const counts = longest.map((_, i) => all.map((h) => h[i]?.count ?? 0));
    const some = counts.map((c) => c[0] + c[1] > 0);
    // Empty buckets at both ends say nothing; one of them shows that it is the end.
    const from = Math.max(0, some.indexOf(true) - 1), to = some.lastIndexOf(true) < 0 ? some.length : Math.min(some.length, some.lastIndexOf(true) + 2);
    const kept = longest.slice(from, to);
    latencyLabels = kept.map((b, i) => (b.up_to_seconds === null ? `> ${brief(longest[from + i - 1]?.up_to_seconds ?? 0)}` : `≤ ${brief(b.up_to_seconds)}`));
    const xs = kept.flatMap((_, i) => [i - 0.2, i + 0.2]);
    const bars = [0, 1].map((s) => kept.flatMap((_, i) => [0, 1].map((k) => (k === s ? counts[from + i][s] : null))));
    const events = counts.reduce((n, c) => n + c[0] + c[1], 0);
    latencyPlot.draw([xs, ...bars], events ? undefined : 'No events yet');
    const words = TYPES.map((t, i) => [t, quantile(all[i], 0.5), quantile(all[i], 0.99)]).filter((w) => w[1] !== null)
      .map(([t, a, b]) => `${t} median ${brief(+a.toPrecision(3))}, 99 % within ${brief(+b.toPrecision(3))}`);
    put('latency-text', events ? `${plural(events, 'event')} since the functions started: ${words.join('; ')}.` : 'No events since the functions started.');
    table('latency-table', ['Latency', 'Entries', 'Exits'], kept.map((_, i) => [latencyLabels[i], ...counts[from + i].map(show)]));
  };

  const STATES = { up: 'up', not_ready: 'not ready', unreachable: 'away' };

  const drawHealth = ({ parts, outcomes, connector }) => {
    const bad = parts.filter((p) => p.state !== 'up');
    put('health-text', bad.length ? `${plural(bad.length, 'part')} of ${parts.length} not up` : `all ${parts.length} parts are up`);
    putRows('parts', JSON.stringify(parts), () => parts.map((p) => element('li', { className: p.state },
      element('span', { className: 'dot', ariaHidden: 'true' }),
      element('span', { className: 'name' }, p.name + ' ', element('span', { className: 'state' }, STATES[p.state] ?? p.state)),
      ...(p.detail ? [element('span', { className: 'detail' }, p.detail)] : []))));
    const queues = connector?.queues ?? [];
    $('queues-region').hidden = !queues.length;
    putRows('queues', JSON.stringify(queues.map((q) => [q.queue, q.ready, q.in_hand, q.waiting, q.retried, q.dead, q.dead_lettered])), () => queues.map((q) => element('tr', {},
      element('th', { scope: 'row' }, q.queue), cell('number', show(q.ready)), cell('number', show(q.in_hand)),
      cell('number', show(q.waiting ?? q.retried)), cell('number', show(q.dead ?? q.dead_lettered)))));

    const became = TYPES.map((type) => ['done', 'unmatched_exit', 'repeat', 'duplicate', 'reject'].map((o) => outcomes.find((e) => e.event_type === type && e.outcome === o)?.events ?? null));
    $('outcomes-region').hidden = !outcomes.length;
    putRows('outcomes', JSON.stringify(became), () => became.map((numbers, i) => element('tr', {},
      element('th', { scope: 'row' }, ['Entries', 'Exits'][i]), ...numbers.map((n) => cell('number', show(n))))));

    const counted = queues.some((q) => q.dead !== null);
    const dead = connector ? sum(queues, (q) => q.dead ?? q.dead_lettered) : null;
    putFigure('k-dead', show(dead), '');
    $('k-dead').closest('.kpi').classList.toggle('alarm', dead > 0);
    const open = (connector?.breakers ?? []).filter((b) => b.state !== 'closed').length;
    put('n-dead', !connector ? 'the connector is not seen' : open ? `${plural(open, 'breaker')} open` : counted ? 'in the queues now' : 'since the start');
  };

  const redisAway = (look) => look.parts.some((p) => p.name === 'redis' && p.state !== 'up');
  let away = false;

  const system = new Poller(() => 2000, (signal) => get('system', '', signal), (look) => {
    if (away && !redisAway(look)) retryFailed();
    away = redisAway(look);
    drawHealth(look);
    drawLatency(look);
  });
  system.may = ofAllSites;

  // ---- Stays.

  const STATUS = { completed: 'Completed', unmatched_exit: 'Unmatched', repeat: 'Repeat', void: 'Void' };
  const METHODS = { exact: 'Same plate', ocr: 'Look-alike', edit: 'One character', two_edits: 'Two characters', split: 'Split visit', corrected: 'Correction' };
  const REASONS = {
    exact: 'Both cameras read the same plate.',
    ocr: 'The plates differ in one character, and the two look alike.',
    edit: 'The plates differ in one character.',
    two_edits: 'The plates differ in two characters.',
    split: 'One long stay was two visits, and this is one of them: between its entry and its exit a similar plate left and entered.',
    corrected: 'A person corrected the plate of a read.',
  };
  const BILLING = { bill: 'It is billed.', hold: 'It is held: a person decides before it is billed.', never: 'It is not billed.' };

  // aligned returns the letters of two plates, each with whether it is not in the other one
  // at its place.
  const aligned = (one, other) => {
    const letters = (plate) => [...plate].map((text) => ({ text, key: /[\p{L}\p{N}*]/u.test(text) ? text.toUpperCase() : '', differs: false }));
    const [left, right] = [letters(one), letters(other)];
    const [a, b] = [left, right].map((of) => of.filter((letter) => letter.key));
    const same = (i, j) => a[i].key === b[j].key;
    // costs[i][j]: how many edits turn the rest of a from i into the rest of b from j.
    const costs = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => (a.length - i) + (b.length - j)));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) costs[i][j] = Math.min(costs[i + 1][j + 1] + !same(i, j), costs[i + 1][j] + 1, costs[i][j + 1] + 1);
    }
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && costs[i][j] === costs[i + 1][j + 1] + !same(i, j)) {
        a[i].differs = b[j].differs = !same(i, j);
        [i, j] = [i + 1, j + 1];
      } else if (i < a.length && costs[i][j] === costs[i + 1][j] + 1) a[i++].differs = true;
      else b[j++].differs = true;
    }
    return [left, right];
  };
  const marked = (letters) => element('span', { className: 'read' }, ...letters.map((l) => (l.differs ? element('mark', {}, l.text) : l.text)));

  // times writes a weight, which is in hundredths of a nat, as a factor.
  const times = (weight) => {
    const factor = Math.exp(weight / 100);
    return factor >= 1e6 ? 'more than a million times' : `${count.format(+factor.toPrecision(2))} times`;
  };
  const nats = (weight) => (weight / 100).toFixed(2);
  const PARTS = { text: 'how alike the plates are', rarity: 'how rare such plates are', dwell: 'how long the stay is', prior: 'before anything is known', lists: 'other readings of the cameras', appearance: 'make and colour' };

  // explained returns in words how a stay was matched: what a cashier needs, and the figures
  // behind it.
  const explained = (s) => {
    const m = s.match, words = [], line = element('p');
    if (m.entry_plate && m.exit_plate && m.method !== 'exact') {
      const [entry, exit] = aligned(m.entry_plate, m.exit_plate);
      line.append('Read as ', marked(entry), ' at the entry and as ', marked(exit), ' at the exit. ');
    }
    words.push(REASONS[m.method] ?? `It was matched by ${m.method}.`);
    for (const d of m.differences ?? []) {
      if (d.entry === '*' || d.exit === '*') continue; // masked
      words.push(!d.entry ? `${d.exit} is missing at the entry.` : !d.exit ? `${d.entry} is missing at the exit.` : `${d.entry} at the entry is ${d.exit} at the exit.`);
    }
    if (s.disputed) {
      words.push(m.alternatives ? 'It may be two visits, not one: a similar plate was read between its entry and its exit.'
        : !m.parts ? 'A person decided that entry and exit are not of one vehicle.'
        : !m.parts.rarity ? 'It may be two visits, not one: it is longer than stays of vehicles that come again.'
        : 'It may be two vehicles: parts of other plates read like this one.');
    }
    if (m.method !== 'exact' && m.method !== 'corrected') {
      words.push(m.margin && m.margin < m.weight ? `This pair is ${times(m.margin)} likelier than the next best one.` : 'No other pair comes close.');
      if (m.posterior) words.push(`Of stays with such a margin ${percent(m.posterior)} were right where it was measured.`);
    }
    line.append(words.join(' ') + ' ', element('strong', {}, BILLING[s.billing] ?? ''));
    const figures = [];
    if (m.weight) figures.push(`One vehicle is ${times(m.weight)} likelier than two (weight ${nats(m.weight)}).`);
    if (m.parts) figures.push('The weight is the sum of: ' + Object.entries(PARTS).filter(([part]) => m.parts[part]).map(([part, what]) => `${what} ${nats(m.parts[part])}`).join(', ') + '.');
    for (const a of m.alternatives ?? []) {
      const what = a.exit_id === s.exit_id ? `the entry ${a.entry_id} with this exit` : a.entry_id === s.entry_id ? `this entry with the exit ${a.exit_id}` : `the entry ${a.entry_id} with the exit ${a.exit_id}`;
      figures.push(`${s.disputed ? 'Disputed by' : 'Another pair is'} ${what} (weight ${nats(a.weight)}).`);
    }
    if (m.model) figures.push(`Weighed by the model ${m.model}.`);
    if (!figures.length) return [line];
    const key = JSON.stringify([s.site, s.id]);
    const details = element('details', { open: opened.has(key) }, element('summary', {}, 'Figures'), element('p', {}, figures.join(' ')));
    details.addEventListener('toggle', () => opened[details.open ? 'add' : 'delete'](key));
    return [line, details];
  };
  const opened = new Set(); // stays whose figures are shown
  const ordinary = (s) => !s.match || (s.match.method === 'exact' && !s.disputed && s.billing === 'bill');

  // Each search for a plate is in the audit: it is made when a person asks for it, and
  // is not repeated but when it has failed.
  const stays = new Poller(() => (view.plate && !stays.failures ? Infinity : 2000), async (signal) => {
    const q = filter();
    q.set('format', 'json');
    q.set('limit', ROWS);
    if (view.cursors.at(-1)) q.set('cursor', view.cursors.at(-1));
    if (!view.plate) return get('.', q, signal);
    return read(await post('search', { ...Object.fromEntries(q), plate: view.plate }, signal));
  }, ({ stays: rows, next }) => {
    putRows('stay-rows', JSON.stringify(rows.map((s) => [s, zoneOf(s.site)])), () => rows.flatMap((s) => [element('tr', { className: ordinary(s) ? '' : 'explained' },
      cell('plate', s.vehicle_plate), cell('roomy site', s.site),
      cell('roomy', s.entry_date_time ? at(s.entry_date_time, s.site) : element('span', { className: 'muted' }, 'not seen')),
      cell('when', at(s.exit_date_time, s.site)), cell('number', span(s.duration_seconds)),
      cell('', element('span', { className: 'tag ' + (s.disputed ? 'disputed' : s.status) }, s.disputed ? 'Disputed' : STATUS[s.status] ?? s.status)),
      cell('roomy', s.match ? METHODS[s.match.method] ?? s.match.method : '–')),
    ...(ordinary(s) ? [] : [element('tr', { className: 'why' }, element('td', { colSpan: 7 }, ...explained(s)))])]));
    const page = view.cursors.length, filtered = view.plate || view.status || view.match || view.site;
    $('stays-empty').hidden = rows.length > 0;
    put('stays-empty', page > 1 ? 'No more stays.' : filtered ? 'No stay matches.' : 'No stays yet. They appear with the first exit.');
    put('stays-text', rows.length ? `Page ${page}${view.plate ? ` of stays of ${view.plate.toUpperCase()} at ${second.format(new Date())}` : ''}, newest exit first` : '');
    $('stays-newer').disabled = page < 2;
    $('stays-older').disabled = !next;
    stays.next = next;
  });
  stays.refused = (message) => {
    $('stay-rows').replaceChildren();
    $('stay-rows').dataset.shown = '';
    $('stays-empty').hidden = false;
    put('stays-empty', message);
    put('stays-text', '');
    $('stays-newer').disabled = $('stays-older').disabled = true;
  };

  const search = () => {
    [view.plate, view.status, view.match, view.cursors] = [$('plate').value.trim(), $('status').value, $('match').value, ['']];
    remember();
    stays.refresh();
  };
  // The stays of a plate are downloaded by POST: a link would have the plate in it.
  $('csv').addEventListener('click', async (e) => {
    if (!view.plate) return;
    e.preventDefault();
    try {
      const answer = await post('search', { ...Object.fromEntries(filter()), plate: view.plate, format: 'csv' });
      if (!answer.ok) await read(answer);
      const link = element('a', { href: URL.createObjectURL(await answer.blob()), download: 'stays.csv' });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (failure) {
      notice(`The stays could not be downloaded: ${failure.message}.`);
    }
  });
  let typing;
  $('plate').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(search, 500);
  });
  for (const id of ['status', 'match']) $(id).addEventListener('change', search);
  $('search').addEventListener('submit', (e) => {
    e.preventDefault();
    clearTimeout(typing);
    search();
  });
  $('stays-older').addEventListener('click', () => {
    if (!stays.next) return;
    view.cursors.push(stays.next);
    stays.next = '';
    stays.refresh();
  });
  $('stays-newer').addEventListener('click', () => {
    if (view.cursors.length > 1) view.cursors.pop();
    stays.refresh();
  });

  // ---- Vehicles inside.

  const inside = new Poller(() => 3000, (signal) => get(view.site ? `sites/${encodeURIComponent(view.site)}/inside` : 'inside',
    new URLSearchParams({ limit: ROWS, offset: view.offset }), signal), () => drawInside());

  const drawInside = () => {
    const vehicles = inside.data?.vehicles;
    if (!vehicles) return;
    const now = Date.now();
    putRows('inside-rows', JSON.stringify(vehicles.map((v) => [v, zoneOf(v.site ?? view.site), span((now - Date.parse(v.since)) / 1000).replace(/ min \d+ s$/, ' min')])), () => vehicles.map((v) => element('tr', {},
      cell('plate', ...(v.site && v.site !== 'default' ? [element('span', { title: `at ${v.site}` }, v.vehicle_plate)] : [v.vehicle_plate])),
      cell('when', at(v.since, v.site ?? view.site)), cell('number', span((now - Date.parse(v.since)) / 1000).replace(/ min \d+ s$/, ' min')))));
    const sites = overview.data?.sites.filter((s) => !view.site || s.site === view.site) ?? [];
    const all = sum(sites, (s) => s.vehicles_inside);
    $('inside-empty').hidden = vehicles.length > 0;
    put('inside-empty', 'No vehicle is inside.');
    put('inside-text', vehicles.length ? `${show(view.offset + 1)} to ${show(view.offset + vehicles.length)} of ${show(Math.max(all, view.offset + vehicles.length))}` : '');
    $('inside-back').disabled = view.offset === 0;
    // Over all sites the API pages through the first thousand.
    $('inside-on').disabled = vehicles.length < ROWS || (!view.site && view.offset + 2 * ROWS > 1000);
  };
  const page = (by) => {
    view.offset = Math.max(0, view.offset + by);
    inside.refresh();
  };
  $('inside-back').addEventListener('click', () => page(-ROWS));
  $('inside-on').addEventListener('click', () => page(ROWS));

  // ---- Cameras.

  const MOST_CAMERAS = 50; // in the table, silent ones first
  const cameras = new Poller(() => 10_000, (signal) => get('cameras', view.site ? new URLSearchParams({ site: view.site }) : '', signal), ({ cameras: all }) => {
    $('cameras').hidden = !all.length;
    const silent = all.filter((c) => c.silent).length;
    put('cameras-text', (silent ? `${show(silent)} of ${plural(all.length, 'camera')} silent` : `none of ${plural(all.length, 'camera')} is silent`) + (all.length > MOST_CAMERAS ? `, the first ${MOST_CAMERAS} shown` : ''));
    const rows = all.toSorted((a, b) => b.silent - a.silent).slice(0, MOST_CAMERAS);
    const time = (iso, site) => (iso ? at(iso, site) : element('span', { className: 'muted' }, '–'));
    putRows('camera-rows', JSON.stringify(rows.map((c) => [c, zoneOf(c.site)])), () => rows.map((c) => element('tr', {},
      element('th', { scope: 'row' }, c.camera), cell('site', c.site),
      cell('', element('span', { className: 'tag ' + (c.silent ? 'unmatched_exit' : c.last_request ? 'completed' : 'void'), title: c.reason ?? '' }, c.silent ? 'Silent' : c.last_request ? 'OK' : 'Not seen')),
      cell('when', time(c.last_read, c.site)), cell('when', time(c.last_heartbeat, c.site)), cell('number', show(c.reads_last_hour)),
      cell('number', percent(c.no_plate_share)), cell('number', percent(c.mean_confidence)), cell('number', percent(c.match_rate)),
      cell('number', c.skew_seconds === null ? '–' : `${c.skew_seconds.toFixed(1)} s`))));
  });

  // ---- Corrections of the occupancy.

  const drawCorrection = () => {
    $('correct').hidden = !may('correct') || !view.site;
    put('correct-title', `Correct the occupancy of ${view.site}`);
  };

  once($('correct'), async () => {
    const site = view.site;
    put('correct-text', 'Correcting');
    let text;
    try {
      const { was, counted } = await read(await post(`sites/${encodeURIComponent(site)}/occupancy`, { counted: Number($('correct-counted').value), reason: $('correct-reason').value }));
      text = `The occupancy of ${site} was ${show(was)} and is ${show(counted)} now.`;
      if (site === view.site) $('correct').reset();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      text = ['connection', 'summary'].includes(failure.kind) ? 'There was no answer. Look at the occupancy before you try again.' : sentence(failure.message);
      if (failure.kind === 'login') who.refresh();
    }
    if (site === view.site) put('correct-text', text);
    for (const p of [overview, audit]) p.refresh();
  });

  // ---- Audit.

  const auditPages = ['']; // their cursors, up to the one shown
  const audit = new Poller(() => 10_000, (signal) => {
    const q = new URLSearchParams({ limit: ROWS });
    if (auditPages.at(-1)) q.set('cursor', auditPages.at(-1));
    return get('audit', q, signal);
  }, ({ entries, next }) => {
    putRows('audit-rows', JSON.stringify(entries), () => entries.map((e) => element('tr', {},
      cell('when', at(e.at)), cell('', e.role ? `${e.who}, ${e.role}` : e.who), cell('', e.address), cell('', e.action), cell('site', e.site),
      cell('', [e.plate, e.object].filter(Boolean).join(', ')), cell('', e.before), cell('', e.after), cell('', e.outcome))));
    $('audit-empty').hidden = entries.length > 0;
    put('audit-empty', auditPages.length > 1 ? 'No more entries.' : 'No entries yet.');
    put('audit-text', entries.length ? `Page ${auditPages.length}` : '');
    $('audit-newer').disabled = auditPages.length < 2;
    $('audit-older').disabled = !next;
    audit.next = next;
  });
  audit.may = () => may('administer');
  $('audit-older').addEventListener('click', () => {
    if (!audit.next) return;
    auditPages.push(audit.next);
    audit.next = '';
    audit.refresh();
  });
  $('audit-newer').addEventListener('click', () => {
    if (auditPages.length > 1) auditPages.pop();
    audit.refresh();
  });

  // ---- What is chosen.

  const choose = (site) => {
    [view.site, view.cursors, view.offset] = [site, [''], 0];
    $('site').value = site;
    remember();
    drawCorrection();
    $('correct').reset(); // it was of another site
    put('correct-text', '');
    if (overview.data) overview.draw(overview.data);
    for (const p of [flow, stats, stays, inside, cameras]) p.refresh();
  };
  $('site').addEventListener('change', () => choose($('site').value));
  $('days').addEventListener('change', () => {
    view.days = $('days').value;
    stats.refresh();
  });
  for (const choice of document.querySelectorAll('[name=span]')) {
    choice.addEventListener('change', () => {
      view.span = choice.value;
      flow.refresh();
    });
  }
  for (const details of document.querySelectorAll('details')) {
    details.addEventListener('toggle', () => {
      for (const p of [flow, stats]) if (p.data) p.draw(p.data);
      if (system.data) drawLatency(system.data);
    });
  }

  const THEMES = ['auto', 'light', 'dark'];
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    put('theme', `Theme: ${theme}`);
    Plot.all.forEach((p) => p.renew());
  };
  $('theme').addEventListener('click', () => {
    const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    try {
      localStorage.setItem('parkstream-theme', theme);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
    setTheme(theme);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => Plot.all.forEach((p) => p.renew()));

  $('plate').value = view.plate;
  $('status').value = view.status;
  $('match').value = view.match;
  setTheme(document.documentElement.dataset.theme);
  remember();
  who.refresh();
})();
