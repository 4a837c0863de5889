
’


service.name
shop∏
1
'opentelemetry.instrumentation.anthropic0.62.4Ç*=2;
9
content.
,slowcall Which river flows through Bordeaux?2#
gen_ai.provider.name
	anthropicY°Ds“ﬂ*Îbgen_ai.user.message