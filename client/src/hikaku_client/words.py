"""What the client says to people, in English and in Japanese."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language; a phrase missing in one of them is a type error."""

    # progress
    done: str
    failed: str
    per_second: str
    left: str
    tokens: str
    waiting: str
    reconnecting: str
    submitted: str
    uploaded: str
    follow: str
    detached: str
    timed_out: str
    ended: str
    reused: str
    repeated: str
    vendor_batches: str
    batches: str
    failures_hint: str
    error_rate: str
    # comparison
    comparison: str
    endpoint: str
    cells: str
    coverage: str
    latency: str
    tokens_in_out: str
    cost: str
    cost_at_least: str
    cost_unknown: str
    mean: str
    scored: str
    difference: str
    p_value: str
    record: str
    baseline: str
    legend: str
    not_answered: str
    nothing_scored: str
    warning: str
    # where to look
    where: str
    mlflow_pending: str
    mlflow_off: str
    api_docs: str
    answers: str
    failed_cells: str
    export: str
    # lists
    job: str
    name: str
    state: str
    progress: str
    created: str
    row: str
    outcome: str
    completion: str
    scores: str
    model: str
    provider: str
    available: str
    rows: str
    revision: str
    columns: str
    schedule: str
    next: str
    paused: str
    active: str
    none: str
    config_error: str
    more: str
    dataset: str
    prompt: str
    scorers: str
    repeats: str
    ended_at: str
    fires: str
    slots: str
    removed: str
    saved: str
    cancelled: str
    was_cancelled: str
    retrying: str
    rescoring: str
    piloting: str
    piloted: str
    calls: str
    time: str
    total: str
    budget: str
    budget_of: str
    unpaid: str
    estimated: str
    pausing: str
    resuming: str
    extending: str
    yes: str
    no: str
    states: Mapping[str, str]
    # use
    used_by: Mapping[str, str]
    used_calls: str
    used_by_jobs: str
    used_in_vain: str
    used_tokens: str
    used_money: str


ENGLISH = Words(
    done="{done} of {total} cells",
    failed="{failed} failed",
    per_second="{rate} a second",
    left="about {time} left",
    tokens="{input} + {output} tokens",
    waiting="waiting for a worker",
    reconnecting="the server does not answer; trying again",
    submitted="Submitted {name}: {cells} cells = {rows} rows x {endpoints} endpoints x {repeats}",
    uploaded="Uploaded {rows} rows as dataset {name}, revision {revision}: {id}",
    follow="Follow it:",
    detached="Detached; the job goes on. Come back with:",
    timed_out="Not ended within {seconds} s; the job goes on. Come back with:",
    ended="{name}: {state}, {done} of {total} cells recorded in {time}",
    reused="{reused} of {total} cells were answered from recorded completions, without a call.",
    repeated="{repeated} calls had to be made again after an interruption.",
    vendor_batches="vendor's batches",
    batches="{waiting} waiting, {running} running, {ended} ended, "
    "{given_up} given up ({requests} requests)",
    failures_hint="{failed} cells failed and have no score. See why, and try them again:",
    error_rate="{rate} of the cells have no result; the limit is {limit} (--max-error-rate).",
    comparison="Comparison",
    endpoint="endpoint",
    cells="cells",
    coverage="coverage",
    latency="latency p50 / p95",
    tokens_in_out="tokens in / out",
    cost="cost (USD)",
    cost_at_least="at least {amount} USD; {calls} calls of unknown cost",
    cost_unknown="{amount} ({calls} calls of unknown cost)",
    mean="mean [{confidence}]",
    scored="scored",
    difference="against baseline [{confidence}]",
    p_value="p",
    record="W / L / T",
    baseline="baseline",
    legend=(
        "[ ] is the interval. Differences are taken row by row on what both scored (W/L/T: rows"
        " won, lost, tied). ▲ better, ▼ worse: the interval leaves 0 out and p is small;"
        " = these rows do not tell the two apart."
    ),
    not_answered="Not answered, so without a score (never counted as 0):",
    nothing_scored="Nothing has a score yet: the job has no scorer, or no cell was answered.",
    warning="Careful:",
    where="Where to look",
    mlflow_pending="being written; `hikaku show {id}` tells when it is there",
    mlflow_off="not connected",
    api_docs="API",
    answers="answers",
    failed_cells="failures",
    export="export",
    job="job",
    name="name",
    state="state",
    progress="cells",
    created="created",
    row="row",
    outcome="outcome",
    completion="completion",
    scores="scores",
    model="model",
    provider="provider",
    available="available",
    rows="rows",
    revision="revision",
    columns="columns",
    schedule="schedule",
    next="next",
    paused="paused",
    active="active",
    none="None yet.",
    config_error="The gateway's file is not in use as it is now; what was read before it is:",
    more="Only the first {shown} are shown; --limit shows more.",
    dataset="dataset",
    prompt="prompt",
    scorers="scorers",
    repeats="repeats",
    ended_at="ended",
    fires="next fires",
    slots="last fires",
    removed="Removed {name}.",
    saved="Written to {path} ({size}).",
    cancelled="Cancelling {name}; calls in flight are finished first.",
    was_cancelled="{name} is cancelled already; nothing was changed.",
    retrying="Trying the failed cells of {name} again.",
    rescoring="{name}: its completions are judged anew, without any call.",
    piloting="Asking about 20 rows of each endpoint ...",
    piloted="From {cells} cells that were asked, for {cost} USD; [ ] holds {confidence}.",
    calls="calls",
    time="time",
    total="total",
    budget="budget (USD)",
    budget_of="{left_usd} of {limit_usd} USD left: {spent_usd} spent, {reserved_usd} reserved",
    unpaid="Its money is spent; {left} cells wait. hikaku top-up {id} --add USD lets it go on.",
    estimated="{value} [{low}, {high}] were estimated",
    pausing="Pausing {name}; calls in flight are finished first.",
    resuming="{name} goes on.",
    extending="{name} is extended; what was asked is not asked again.",
    yes="yes",
    no="no",
    states={
        "queued": "queued",
        "running": "running",
        "paused": "paused",
        "cancelling": "cancelling",
        "completed": "completed",
        "completed_with_errors": "completed with errors",
        "failed": "failed",
        "cancelled": "cancelled",
    },
    used_by={"endpoint": "endpoint", "caller": "caller", "day": "day"},
    used_calls="calls",
    used_by_jobs="of jobs",
    used_in_vain="failed",
    used_tokens="tokens in + out",
    used_money="USD",
)

JAPANESE = Words(
    done="{done} / {total} セル",
    failed="失敗 {failed}",
    per_second="毎秒 {rate}",
    left="残り約 {time}",
    tokens="{input} + {output} トークン",
    waiting="ワーカーを待っています",
    reconnecting="サーバーが応答しません。再接続しています",
    submitted=(
        "{name} を登録しました:"
        " {cells} セル = {rows} 行 x {endpoints} エンドポイント x {repeats} 回"
    ),
    uploaded="{rows} 行をデータセット {name} 第 {revision} 版として登録しました: {id}",
    follow="進行を見るには:",
    detached="表示を終えました。ジョブは続いています。戻るには:",
    timed_out="{seconds} 秒以内に終わりませんでした。ジョブは続いています。戻るには:",
    ended="{name}: {state}、{total} セル中 {done} セルを記録、{time}",
    reused="{total} セル中 {reused} セルは記録済みの応答を使い、呼び出しをしていません。",
    repeated="中断のため {repeated} 回の呼び出しをやり直しました。",
    vendor_batches="ベンダーのバッチ",
    batches="待機 {waiting}、実行中 {running}、終了 {ended}、"
    "断念 {given_up} (リクエスト {requests} 件)",
    failures_hint="{failed} セルが失敗し、スコアがありません。理由と再試行:",
    error_rate="結果のないセルが {rate} あります。上限は {limit} です (--max-error-rate)。",
    comparison="比較",
    endpoint="エンドポイント",
    cells="セル",
    coverage="採点率",
    latency="応答時間 p50 / p95",
    tokens_in_out="トークン 入 / 出",
    cost="費用 (USD)",
    cost_at_least="{amount} USD 以上、費用不明の呼び出し {calls} 回",
    cost_unknown="{amount} (費用不明の呼び出し {calls} 回)",
    mean="平均 [{confidence}]",
    scored="採点",
    difference="基準との差 [{confidence}]",
    p_value="p 値",
    record="勝 / 負 / 分",
    baseline="基準",
    legend=(
        "[ ] は信頼区間。差は両方が採点された行ごとに取ります (勝/負/分 は行数)。"
        "▲ 改善、▼ 悪化: 区間が 0 を含まず p 値も小さいとき。= この行数では優劣がつきません。"
    ),
    not_answered="応答がなくスコアのないセル (0 点とは数えません):",
    nothing_scored="スコアがまだありません。評価器がないか、応答したセルがありません。",
    warning="注意:",
    where="結果の見かた",
    mlflow_pending="書き込み中です。`hikaku show {id}` で確かめられます",
    mlflow_off="接続なし",
    api_docs="API",
    answers="応答",
    failed_cells="失敗",
    export="書き出し",
    job="ジョブ",
    name="名前",
    state="状態",
    progress="セル",
    created="作成",
    row="行",
    outcome="結果",
    completion="応答",
    scores="スコア",
    model="モデル",
    provider="プロバイダー",
    available="利用可",
    rows="行数",
    revision="版",
    columns="列",
    schedule="定期実行",
    next="次回",
    paused="停止中",
    active="有効",
    none="まだありません。",
    config_error="ゲートウェイの設定ファイルは今のままでは使えません。前に読んだ設定で動いています:",
    more="先頭の {shown} 件だけを表示しています。--limit で増やせます。",
    dataset="データセット",
    prompt="プロンプト",
    scorers="評価器",
    repeats="反復",
    ended_at="終了",
    fires="次回以降",
    slots="直近の実行",
    removed="{name} を削除しました。",
    saved="{path} に書き出しました ({size})。",
    cancelled="{name} を中止しています。進行中の呼び出しは終わるまで待ちます。",
    was_cancelled="{name} はすでに中止されています。何も変えていません。",
    retrying="{name} の失敗したセルを再試行します。",
    rescoring="{name}: 呼び出しをせずに応答を採点し直します。",
    piloting="各エンドポイントに約 20 行を試しに問い合わせています ...",
    piloted="試行 {cells} セル (費用 {cost} USD) からの見積もり。[ ] は {confidence} 区間です。",
    calls="呼び出し",
    time="時間",
    total="合計",
    budget="予算 (USD)",
    budget_of="{limit_usd} USD のうち残り {left_usd}: 支出 {spent_usd}、予約 {reserved_usd}",
    unpaid="予算を使い切り、{left} セルが待っています。続けるには: hikaku top-up {id} --add USD",
    estimated="見積もりは {value} [{low}, {high}]",
    pausing="{name} を一時停止しています。進行中の呼び出しは終わるまで待ちます。",
    resuming="{name} を再開します。",
    extending="{name} を拡張しました。取得済みの回答を再び問い合わせることはありません。",
    yes="はい",
    no="いいえ",
    states={
        "queued": "待機中",
        "running": "実行中",
        "paused": "一時停止",
        "cancelling": "中止処理中",
        "completed": "完了",
        "completed_with_errors": "一部失敗",
        "failed": "失敗",
        "cancelled": "中止",
    },
    used_by={"endpoint": "エンドポイント", "caller": "呼び出し元", "day": "日"},
    used_calls="呼び出し",
    used_by_jobs="うちジョブ",
    used_in_vain="失敗",
    used_tokens="トークン 入力 + 出力",
    used_money="USD",
)


def choose(language: str | None, environ: Mapping[str, str]) -> Words:
    """Pick a language: the one asked for, else what the locale says."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return JAPANESE if (language or locale).lower().startswith("ja") else ENGLISH
